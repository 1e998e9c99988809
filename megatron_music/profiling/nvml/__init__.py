"""Watching GPUs through NVML: what each one does, recorded at 10 Hz and summed up."""
