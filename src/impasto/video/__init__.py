"""Video: read clips, paint their frames with little flicker, write the result with the sound of the clip.

::

    clips      clip files -> frames with their times; GIF and WebP too
    shots      cuts, and a few frames of each shot
    flow       optical flow; blending of each frame with the previous result
    flat_areas optical flow of areas without texture
    frames     frames as images, images as frames
    painters   brush and instant, for frames
    temporal   painters of frames by optimization, with a temporal loss
    segments   the parts of a result on disk, so that an interrupted run can continue
    joining    segments and sound -> the result
    films      the making of a painting; comparison and poster of a clip
    painting   the recipe: paint_video()
    libraries  PyAV and OpenCV, loaded on first use
"""
