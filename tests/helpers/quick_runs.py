"""When imported: runs in this process do without what costs mmengine more than a short training does.

It sets the line breaks of a config by yapf for the log and for files; and it asks git for each checkpoint, and the
compiler at each start, what they say about the environment. The config stays the same code, on longer lines.
"""
import functools

import mmengine.config.config
import mmengine.hooks.runtime_info_hook
import mmengine.runner.runner

from mimtransfer.openmmlab.config_bases import keep_bases

keep_bases()
mmengine.config.config.FormatCode = lambda text, **_: (text, True)
mmengine.runner.runner.collect_env = functools.cache(mmengine.runner.runner.collect_env)
mmengine.runner.runner.get_git_hash = functools.cache(mmengine.runner.runner.get_git_hash)
mmengine.hooks.runtime_info_hook.get_git_hash = mmengine.runner.runner.get_git_hash
