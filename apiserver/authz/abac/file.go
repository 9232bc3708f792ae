package abac

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The kinds that a line may say it is of.
const (
	kind           = "Policy"
	firstVersion   = "abac.authorization.kubernetes.io/v0"
	currentVersion = "abac.authorization.kubernetes.io/v1beta1"
)

// Load reads a file of policies.
func Load(path string) (Policies, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	ps, unversioned, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("error reading policy file %s%w", path, err)
	}
	if unversioned {
		slog.Warn("the policy file has lines without a version, which hold for all API groups: give them one", "file", path, "version", currentVersion)
	}
	return ps, nil
}

// read returns the policies of a file, and whether one of them does not say of which version it is.
func read(file io.Reader) (ps Policies, unversioned bool, err error) {
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		p, old, err := parse(line)
		if err != nil {
			return nil, false, fmt.Errorf(", line %d: %s: %w", n, line, err)
		}
		ps, unversioned = append(ps, p), unversioned || old
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf(": %w", err)
	}
	return ps, unversioned, nil
}

// A line is one policy in the current version, where it is in spec, or in the first, where it is not.
type line struct {
	metav1.TypeMeta `json:",inline"`
	Policy          `json:",inline"`
	Spec            Policy `json:"spec"`
}

// parse reads a line; unversioned says that it does not tell its version.
func parse(text []byte) (p Policy, unversioned bool, err error) {
	if text, err = yaml.YAMLToJSON(text); err != nil {
		return p, false, err
	}
	var l line
	if err := json.UnmarshalCaseSensitivePreserveInts(text, &l); err != nil {
		return p, false, err
	}
	switch version := l.APIVersion; {
	case version == currentVersion && l.Kind == kind:
		return l.Spec.complete(), false, nil
	case version == firstVersion && l.Kind == kind:
		return l.Policy.ofFirstVersion(), false, nil
	case version == "" && (l.Kind == "" || l.Kind == kind):
		return l.Policy.ofFirstVersion(), true, nil
	}
	return p, false, fmt.Errorf("no kind %q is registered for version %q; give %s of version %s", l.Kind, l.APIVersion, kind, currentVersion)
}

// complete says of everybody that they must have shown who they are.
func (p Policy) complete() Policy {
	if p.User == wildcard || p.Group == wildcard {
		p.User, p.Group = "", user.AllAuthenticated
	}
	return p
}

// ofFirstVersion says what a line of the first version leaves out: there it meant everything.
func (p Policy) ofFirstVersion() Policy {
	out := Policy{User: p.User, Group: p.Group, Readonly: p.Readonly, Resource: p.Resource, Namespace: p.Namespace, APIGroup: wildcard}
	if p.User == "" && p.Group == "" {
		out.Group = user.AllAuthenticated
	}
	if p.Namespace == "" && p.Resource == "" {
		out.NonResourcePath = wildcard
	}
	if p.Namespace == "" {
		out.Namespace = wildcard
	}
	if p.Resource == "" {
		out.Resource = wildcard
	}
	return out.complete()
}
