"""Where traffic shall go now: breakers for targets and providers. Pure: what happened and the time go in, shares and reasons come out."""
