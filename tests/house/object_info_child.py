"""Runs inside ComfyUI's interpreter: python object_info_child.py COMFYUI BASE OUT.

Writes what its /object_info would answer, the pack in BASE/custom_nodes included.
"""

import asyncio
import importlib
import json
import sys

comfyui, base, out = sys.argv[1:]
sys.path.insert(0, comfyui)
sys.argv = ["main.py", "--cpu", "--base-directory", base]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

importlib.import_module("utils.extra_config")  # as main.py does, before nodes.py hides `utils`

import execution  # noqa: E402
import server  # noqa: E402

import nodes  # noqa: E402


async def main() -> None:
    prompt_server = server.PromptServer(asyncio.get_running_loop())
    execution.PromptQueue(prompt_server)
    await nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False)
    prompt_server.add_routes()
    routes = prompt_server.app.router.routes()
    answer = next(r.handler for r in routes if r.resource.canonical == "/object_info")
    response = await answer(None)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(json.loads(response.body), file)


asyncio.run(main())
