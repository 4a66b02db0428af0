package rules.memory_limits

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s: no memory limit", [container.at]) if {
	some container in judged.containers
	not container.body.resources.limits.memory
}
