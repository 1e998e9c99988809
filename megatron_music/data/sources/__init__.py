"""Where music comes from: folders, archives, collections in music21, downloads."""
