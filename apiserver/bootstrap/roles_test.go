package bootstrap

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRolesAreUpstreams compares every role and binding with what a v1.36 server has, in testdata/roles. Our own have
// names that begin with clipper:.
func TestRolesAreUpstreams(t *testing.T) {
	want, err := os.ReadFile("testdata/roles")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	add := func(kind string, m metav1.ObjectMeta, lines ...string) {
		if strings.HasPrefix(m.Name, "clipper:") {
			return
		}
		name := m.Name
		if m.Namespace != "" {
			name = m.Namespace + "/" + name
		}
		head := []string{kind + " " + name}
		for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
			if k != "kubernetes.io/bootstrapping" {
				head = append(head, "  label "+k+"="+m.Labels[k])
			}
		}
		have = append(have, strings.Join(append(head, lines...), "\n"))
	}
	for _, r := range slices.Concat(clusterRoles(), controllerRoles()) {
		var lines []string
		if r.AggregationRule != nil {
			for _, s := range r.AggregationRule.ClusterRoleSelectors {
				for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
					lines = append(lines, "  collects "+k+"="+s.MatchLabels[k])
				}
			}
		}
		add("ClusterRole", r.ObjectMeta, append(lines, ruleLines(r.Rules)...)...)
	}
	for _, r := range roles() {
		add("Role", r.ObjectMeta, ruleLines(r.Rules)...)
	}
	for _, b := range slices.Concat(clusterRoleBindings(), controllerBindings()) {
		add("ClusterRoleBinding", b.ObjectMeta, bindingLines(b.RoleRef, b.Subjects)...)
	}
	for _, b := range roleBindings() {
		add("RoleBinding", b.ObjectMeta, bindingLines(b.RoleRef, b.Subjects)...)
	}
	slices.Sort(have)
	compareLines(t, strings.Split(strings.TrimSpace(string(want)), "\n"), strings.Split(strings.Join(have, "\n"), "\n"))
}

func ruleLines(rules []rbacv1.PolicyRule) (lines []string) {
	for _, r := range rules {
		verbs := strings.Join(r.Verbs, " ")
		if len(r.NonResourceURLs) > 0 {
			lines = append(lines, "  "+verbs+" on "+strings.Join(r.NonResourceURLs, " "))
			continue
		}
		groups := slices.Clone(r.APIGroups)
		for i, g := range groups {
			if g == "" {
				groups[i] = core
			}
		}
		line := fmt.Sprintf("  %s on %s %s", verbs, strings.Join(groups, " "), strings.Join(r.Resources, ","))
		if len(r.ResourceNames) > 0 {
			line += " named " + strings.Join(r.ResourceNames, ",")
		}
		lines = append(lines, line)
	}
	return lines
}

func bindingLines(ref rbacv1.RoleRef, subjects []rbacv1.Subject) []string {
	lines := []string{"  gives " + ref.Kind + " " + ref.Name}
	for _, s := range subjects {
		name := s.Name
		if s.Namespace != "" {
			name = s.Namespace + "/" + name
		}
		lines = append(lines, "  to "+s.Kind+" "+name)
	}
	return lines
}

func compareLines(t *testing.T, want, have []string) {
	t.Helper()
	for i := range max(len(want), len(have)) {
		var w, h string
		if i < len(want) {
			w = want[i]
		}
		if i < len(have) {
			h = have[i]
		}
		if w != h {
			t.Fatalf("line %d:\nwant %s\nhave %s", i+1, w, h)
		}
	}
}
