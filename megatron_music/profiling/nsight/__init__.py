"""Reading captures of Nsight Systems: `read.py` is the way in."""
