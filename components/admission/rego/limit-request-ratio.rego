package rules.limit_request_ratio

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf(
	"%s: %s limit %v is %.2f times the request %v (at most %v times)",
	[container.at, name, limit, ratio, request, most],
) if {
	some container in judged.containers
	some name, most in {"cpu": input.parameters.maxCpuRatio, "memory": input.parameters.maxMemoryRatio}
	limit := container.body.resources.limits[name]
	request := container.body.resources.requests[name]
	judged.amount(request) > 0
	ratio := judged.amount(limit) / judged.amount(request)

	# As in CEL, which has only binary fractions.
	ratio > most * 1.000000001
}
