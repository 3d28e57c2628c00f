"""All that exists only to make OpenMMLab run today: a stand-in for the compiled `mmcv._ext`, the package `lvis`."""
