package rules.image_registries

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s: image '%s' comes from '%s'", [container.at, image, repository]) if {
	some container in judged.containers
	image := container.body.image
	image != ""
	repository := judged.reference(image).repository
	not strings.any_prefix_match(sprintf("%s/", [repository]), input.parameters.allowed)
}
