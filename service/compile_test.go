package service

import (
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; read the diff before you commit it")

var testFacts = Facts{NodeName: "n1", Zone: "east", PodCIDR: netip.MustParsePrefix("10.244.0.0/24")}

// Each file of testdata/compile is YAML documents, a line "=====", and the rule set they compile to on node n1
// in zone east with pods in 10.244.0.0/24.
func TestCompileGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/compile/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(data), "\n=====\n")
			services, sl := parseObjects(t, input)
			got := compile(services, func(s *corev1.Service) []*discoveryv1.EndpointSlice { return sl[s.Namespace+"/"+s.Name] }, testFacts).String()
			if *rewrite {
				if err := os.WriteFile(file, []byte(input+"\n=====\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func parseObjects(t *testing.T, text string) ([]*corev1.Service, map[string][]*discoveryv1.EndpointSlice) {
	t.Helper()
	var services []*corev1.Service
	sl := map[string][]*discoveryv1.EndpointSlice{}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.Contains(doc, "kind: EndpointSlice") {
			var s discoveryv1.EndpointSlice
			if err := yaml.UnmarshalStrict([]byte(doc), &s); err != nil {
				t.Fatal(err)
			}
			key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
			sl[key] = append(sl[key], &s)
			continue
		}
		var s corev1.Service
		if err := yaml.UnmarshalStrict([]byte(doc), &s); err != nil {
			t.Fatal(err)
		}
		services = append(services, &s)
	}
	return services, sl
}

// compile turns all services and endpoint slices into the rule set of one node. It changes none of its
// arguments. It is what the Proxy arrives at piece by piece, said plainly.
func compile(services []*corev1.Service, slicesOf func(*corev1.Service) []*discoveryv1.EndpointSlice, f Facts) Ruleset {
	all := newRuleset()
	for _, s := range services {
		all.add(compileService(s, slicesOf(s), f).rules)
	}
	return all
}

// add merges what is one service's. Where two claim the same address and port (external IPs are not
// checked for it) the first one to be added keeps it.
func (r Ruleset) add(part Ruleset) {
	for e, v := range part.Elements {
		if _, taken := r.Elements[e]; !taken {
			r.Elements[e] = v
		}
	}
	maps.Copy(r.Chains, part.Chains)
	maps.Copy(r.Affinity, part.Affinity)
}
