"""Osprey runs rules by its own plugin manager, validators and engine, in the Python of an environment that has it.

Stdin: `rules` and `actions`, in JSON; stdout: the values and verdicts of each action.
"""
# mypy: ignore-errors

import json
import sys
from datetime import UTC, datetime

from gevent.pool import Pool
from osprey.engine.ast.sources import Sources
from osprey.engine.ast_validator import validate_sources
from osprey.engine.ast_validator.validator_registry import ValidatorRegistry
from osprey.engine.executor.execution_context import Action
from osprey.engine.executor.execution_graph import compile_execution_graph
from osprey.engine.executor.executor import execute
from osprey.engine.executor.udf_execution_helpers import UDFHelpers
from osprey.engine.stdlib import get_config_registry
from osprey.engine.udf.registry import UDFRegistry
from osprey.worker.adaptor import plugin_manager as plugins

given = json.load(sys.stdin)
plugins.bootstrap_ast_validators()
registry = UDFRegistry.with_udfs(*plugins.flatten(plugins.plugin_manager.hook.register_udfs()))
config = get_config_registry().get_validator()
validators = ValidatorRegistry.get_instance().instance_with_additional_validators(config)
graph = compile_execution_graph(validate_sources(Sources.from_dict({"main.sml": given["rules"]}), registry, validators))
done = []
for number, data in enumerate(given["actions"]):
    result = execute(graph, UDFHelpers(), Action(number, "upload", data, datetime.now(UTC)), Pool(4))
    done.append({**result.extracted_features, "verdicts": [verdict.verdict for verdict in result.verdicts]})
json.dump(done, sys.stdout)
