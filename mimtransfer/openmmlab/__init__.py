"""All that exists only to make OpenMMLab run well today: a stand-in for the compiled `mmcv._ext`, the package `lvis`,
configs with bases of mmdet and mmseg, and bases of ours from anywhere, deformable attention whose points stay in
float32, detectron2's cascade.
"""
