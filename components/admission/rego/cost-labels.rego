package rules.cost_labels

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%sno label %s", [place.at, concat(", ", missing)]) if {
	some place in places
	missing := [label |
		some label in input.parameters.required
		object.get(place.holder, ["metadata", "labels", label], "") == ""
	]
	count(missing) > 0
}

findings contains sprintf(
	"%scost-center '%s' is not in the registry, which has %s",
	[place.at, center, concat(", ", input.parameters.costCenters)],
) if {
	some place in places
	center := place.holder.metadata.labels["cost-center"]
	center != ""
	not center in input.parameters.costCenters
}

places contains {"at": "", "holder": judged.judged}

places contains {"at": "pod template: ", "holder": judged.template} if judged.judged.kind != "Pod"

places contains {"at": sprintf("claim template '%s': ", [claim.metadata.name]), "holder": claim} if {
	judged.judged.kind == "StatefulSet"
	some claim in judged.judged.spec.volumeClaimTemplates
}

places contains {
	"at": sprintf("ephemeral volume '%s': ", [volume.name]),
	"holder": volume.ephemeral.volumeClaimTemplate,
} if {
	some volume in judged.template.spec.volumes
}
