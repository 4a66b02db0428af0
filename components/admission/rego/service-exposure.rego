package rules.service_exposure

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains concat(" and ", how) if {
	how := array.concat(
		[sprintf("type is %s", [type]) | type := judged.judged.spec.type; type in {"LoadBalancer", "NodePort"}],
		["externalIPs are set" | count(judged.judged.spec.externalIPs) > 0],
	)
	count(how) > 0
	not regex.match(input.parameters.allowed, judged.place)
}
