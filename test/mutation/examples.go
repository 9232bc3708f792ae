package mutation

import (
	"bytes"
	"embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

// separator is between the documents of a file of examples.
const separator = "\n---\n"

//go:embed examples
var files embed.FS

// Examples returns objects of a kind in JSON, to start from: "pods", "deployments.apps",
// "events@events.k8s.io.v1". Most are valid; what is not is there for its faults. Nil: there are none.
func Examples(kind string) ([][]byte, error) {
	text, err := files.ReadFile("examples/" + kind + ".yaml")
	if err != nil {
		return nil, nil // the only error of a file that is part of the program: it is not
	}
	var list [][]byte
	for i, document := range bytes.Split(text, []byte(separator)) {
		data, err := yaml.YAMLToJSON(document)
		if err != nil {
			return nil, fmt.Errorf("example %d of %s: %w", i, kind, err)
		}
		list = append(list, data)
	}
	return list, nil
}
