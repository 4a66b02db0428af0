// Judge runs Rego with the Open Policy Agent: it reads modules and questions from its input as JSON, and prints an
// answer a line, each the value of a query for an input.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/open-policy-agent/opa/v1/rego"
)

type questions struct {
	Modules map[string]string `json:"modules"`
	Asked   []struct {
		Query string `json:"query"`
		Input any    `json:"input"`
	} `json:"asked"`
}

func main() {
	var given questions
	decoder := json.NewDecoder(os.Stdin)
	decoder.UseNumber()
	if err := decoder.Decode(&given); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	prepared := map[string]rego.PreparedEvalQuery{}
	answers := json.NewEncoder(os.Stdout)
	for _, question := range given.Asked {
		query, known := prepared[question.Query]
		if !known {
			options := []func(*rego.Rego){rego.Query(question.Query), rego.StrictBuiltinErrors(true)}
			for name, text := range given.Modules {
				options = append(options, rego.Module(name, text))
			}
			var err error
			if query, err = rego.New(options...).PrepareForEval(ctx); err != nil {
				log.Fatal(err)
			}
			prepared[question.Query] = query
		}
		found, err := query.Eval(ctx, rego.EvalInput(question.Input))
		if err != nil {
			log.Fatal(err)
		}
		if len(found) != 1 {
			log.Fatalf("%s is undefined", question.Query)
		}
		if err := answers.Encode(found[0].Expressions[0].Value); err != nil {
			log.Fatal(err)
		}
	}
}
