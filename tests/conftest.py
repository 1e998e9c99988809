"""What all tests share."""

from hypothesis import settings

from megatron_music.threads import wait_briefly

wait_briefly()  # several processes of these tests share the cores

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
