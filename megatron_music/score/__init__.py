"""The music itself, in numpy: reading, quantizing, drawing, sounding."""
