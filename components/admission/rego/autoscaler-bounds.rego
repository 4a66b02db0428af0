package rules.autoscaler_bounds

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("minReplicas %v is below %v", [lowest, input.parameters.minReplicas]) if {
	lowest := object.get(judged.judged.spec, "minReplicas", 1)
	lowest < input.parameters.minReplicas
}

findings contains sprintf(
	"target %s utilization %v %% is outside %v to %v %%",
	[target.name, target.percent, input.parameters.minUtilization, input.parameters.maxUtilization],
) if {
	some target in targets
	not within(target.percent)
}

targets contains {"name": source.name, "percent": source.target.averageUtilization} if {
	some metric in judged.judged.spec.metrics
	some field in ["resource", "containerResource"]
	source := metric[field]
}

# In version 1 of the API, which the API server hands on as it was sent.
targets contains {"name": "cpu", "percent": judged.judged.spec.targetCPUUtilizationPercentage}

within(percent) if {
	percent >= input.parameters.minUtilization
	percent <= input.parameters.maxUtilization
}
