package pipeline

import "strings"

// YAMLWarnings splits what the YAML decoder says about unknown or duplicate keys into one text each.
func YAMLWarnings(text string) []string {
	const short = "yaml: unmarshal errors:\n"
	const long = "error converting YAML to JSON: " + short
	lines, ok := strings.CutPrefix(text, short)
	if !ok {
		if lines, ok = strings.CutPrefix(text, long); !ok {
			return []string{text}
		}
	}
	out := strings.Split(lines, "\n")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}
