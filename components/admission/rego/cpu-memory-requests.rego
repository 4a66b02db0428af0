package rules.cpu_memory_requests

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s: no %s request", [container.at, concat(" and ", missing)]) if {
	some container in judged.containers
	missing := [name | some name in ["cpu", "memory"]; not requested(container, name)]
	count(missing) > 0
}

requested(container, name) if {
	request := container.body.resources.requests[name]
	not judged.amount(request) == 0
}
