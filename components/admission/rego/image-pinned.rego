package rules.image_pinned

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s: %s", [container.at, wrong]) if {
	some container in judged.containers
	wrong := what(object.get(container.body, "image", ""))
}

what(image) := "no image" if image == ""

what(image) := fault if {
	image != ""
	not regex.match("@.", image)
	fault := unpinned(image, judged.reference(image))
}

unpinned(image, reference) := sprintf("image '%s' has no digest", [image]) if {
	regex.match(input.parameters.digestRequired, reference.repository)
} else := sprintf("image '%s' has no tag, which means latest", [image]) if {
	reference.tag == ""
} else := sprintf("image '%s' has the moving tag '%s'", [image, reference.tag]) if {
	reference.tag in input.parameters.forbiddenTags
}
