"""Bad input on a real ComfyUI server: the node names what is wrong, and the queue goes on."""

import pytest


@pytest.fixture
def refused(server, every_node):
    """refused(workflow): (node type, message) of the error that ends it; a good one then runs."""

    def run(workflow: dict) -> tuple[str, str]:
        kind, message = server.run(workflow)["status"]["messages"][-1]
        assert kind == "execution_error"
        assert server.paint(every_node())
        return message["node_type"], message["exception_message"]

    return run


def test_a_picture_that_is_no_dense_pose(refused, every_node):
    wrong = every_node()
    wrong["target_pose"]["inputs"]["image"] = "random_source.png"
    node, message = refused(wrong)
    assert node == "MannequinPersonConditioning"
    assert "not a dense pose" in message
