package rules.probes

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s: no %s probe", [container.at, concat(" and ", missing)]) if {
	not ends
	some container in judged.containers
	not container.init
	missing := [name | some name in input.parameters.required; not asks(container.body, sprintf("%sProbe", [name]))]
	count(missing) > 0
}

ends if {
	judged.judged.kind == "Pod"
	object.get(judged.judged.spec, "restartPolicy", "Always") != "Always"
}

asks(body, probe) if {
	some handler in input.parameters.handlers
	body[probe][handler]
}
