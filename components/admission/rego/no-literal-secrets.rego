package rules.no_literal_secrets

import data.lib.judged

violation contains {"msg": judged.message(finding)} if {
	not judged.left_alone
	some finding in findings
}

findings contains sprintf("%s, env: %s", [container.at, why]) if {
	some container in judged.containers
	some variable in container.body.env
	why := literal(variable.name, variable.value)
}

findings contains sprintf("data: %s", [why]) if {
	judged.judged.kind == "ConfigMap"
	some name, value in judged.judged.data

	# As in CEL, which may spend only so much on long texts.
	count(value) <= 1024
	why := literal(name, value)
}

# Why a value looks like a secret. The value itself goes nowhere.
literal(name, value) := why if {
	not regex.match(input.parameters.harmless, value)
	not name in input.parameters.allowedNames
	why := reason(name, value)
}

reason(name, value) := sprintf("the value of '%s' looks like %s", [name, shapes[0]]) if {
	shapes := [shape.what | some shape in input.parameters.shapes; regex.match(shape.pattern, value)]
	count(shapes) > 0
} else := sprintf("'%s' is a secret by its name and has a literal value", [name]) if {
	regex.match(input.parameters.names, name)
}
