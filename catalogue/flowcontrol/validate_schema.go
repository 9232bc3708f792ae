package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"clipper/catalogue/rule"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// verbs are those that requests have.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func validateSchema(s *flowcontrolv1.FlowSchema) field.ErrorList {
	f := &rule.Faults{}
	precedence, at := s.Spec.MatchingPrecedence, specPath.Child("matchingPrecedence")
	if precedence <= 0 {
		f.Invalid(at, precedence, "must be a positive value")
	}
	if precedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		f.Invalid(at, precedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	}
	if precedence == 1 && s.Name != flowcontrolv1.FlowSchemaNameExempt {
		f.Invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := s.Spec.DistinguisherMethod; m != nil {
		methods := []flowcontrolv1.FlowDistinguisherMethodType{
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType,
		}
		if !slices.Contains(methods, m.Type) {
			f.Add(field.NotSupported(specPath.Child("distinguisherMethod", "type"), m, methods))
		}
	}
	level := specPath.Child("priorityLevelConfiguration", "name")
	if name := s.Spec.PriorityLevelConfiguration.Name; name == "" {
		f.Required(level, "must reference a priority level")
	} else {
		f.DNSSubdomain(level, name)
	}
	for i := range s.Spec.Rules {
		schemaRule(f, &s.Spec.Rules[i], specPath.Child("rules").Index(i))
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == s.Name && !equality.Semantic.DeepEqual(s.Spec, fixed.Spec) {
			f.Invalid(specPath, s.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name))
		}
	}
	return append(f.List, schemaStatus(s)...)
}

func schemaStatus(s *flowcontrolv1.FlowSchema) field.ErrorList {
	types := make([]string, len(s.Status.Conditions))
	for i, c := range s.Status.Conditions {
		types[i] = string(c.Type)
	}
	return conditions(types)
}

// conditions have types, each one once.
func conditions(types []string) field.ErrorList {
	f, seen := &rule.Faults{}, rule.Seen[string]{}
	for i, t := range types {
		at := statusPath.Child("conditions").Index(i).Child("type")
		if seen.Again(t) {
			f.Duplicate(at, t)
		}
		f.Need(at, t)
	}
	return f.List
}

func schemaRule(f *rule.Faults, r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) {
	if len(r.Subjects) == 0 {
		f.Required(at.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		subject(f, &r.Subjects[i], at.Child("subjects").Index(i))
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		f.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		resourceRule(f, &r.ResourceRules[i], at.Child("resourceRules").Index(i))
	}
	for i, n := range r.NonResourceRules {
		at := at.Child("nonResourceRules").Index(i)
		knownVerbs(f, n.Verbs, at.Child("verbs"))
		urls := at.Child("nonResourceURLs")
		if alone(f, n.NonResourceURLs, urls, "nonResourceURLs must contain at least one value", "non-resource URLs") {
			for i, url := range n.NonResourceURLs {
				if fault := urlFault(url); fault != "" {
					f.Invalid(urls.Index(i), url, fault)
				}
			}
		}
	}
}

// subject checks that the one part is there that the kind speaks of, and no other.
func subject(f *rule.Faults, s *flowcontrolv1.Subject, at *field.Path) {
	if !slices.Contains(subjectKinds, s.Kind) {
		f.Add(field.NotSupported(at.Child("kind"), s.Kind, subjectKinds))
		return
	}
	others := &rule.Faults{} // after those of the one part
	for _, part := range []struct {
		kind  flowcontrolv1.SubjectKind
		name  string
		set   bool
		check func(at *field.Path)
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(at *field.Path) { account(f, s.ServiceAccount, at) }},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(at *field.Path) { f.Need(at.Child("name"), s.User.Name) }},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(at *field.Path) { f.Need(at.Child("name"), s.Group.Name) }},
	} {
		at := at.Child(part.name)
		switch {
		case part.kind == s.Kind && !part.set:
			f.Required(at, fmt.Sprintf("%s is required when subject kind is '%s'", part.name, part.kind))
		case part.kind == s.Kind:
			part.check(at)
		case part.set:
			others.Forbidden(at, fmt.Sprintf("%s is forbidden when subject kind is not '%s'", part.name, part.kind))
		}
	}
	f.Add(others.List...)
}

var subjectKinds = []flowcontrolv1.SubjectKind{
	flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser,
}

func account(f *rule.Faults, s *flowcontrolv1.ServiceAccountSubject, at *field.Path) {
	if f.Need(at.Child("name"), s.Name) && s.Name != flowcontrolv1.NameAll {
		f.Each(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))
	}
	if s.Namespace == "" {
		f.Required(at.Child("namespace"), "must specify namespace for service account")
		return
	}
	f.Each(at.Child("namespace"), s.Namespace, apivalidation.ValidateNamespaceName(s.Namespace, false))
}

func resourceRule(f *rule.Faults, r *flowcontrolv1.ResourcePolicyRule, at *field.Path) {
	knownVerbs(f, r.Verbs, at.Child("verbs"))
	alone(f, r.APIGroups, at.Child("apiGroups"), "resource rules must supply at least one api group", "api groups")
	alone(f, r.Resources, at.Child("resources"), "resource rules must supply at least one resource", "resources")
	namespaces := at.Child("namespaces")
	if len(r.Namespaces) == 0 && r.ClusterScope {
		return
	}
	if alone(f, r.Namespaces, namespaces, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces") {
		for i, ns := range r.Namespaces {
			for _, fault := range apivalidation.ValidateNamespaceName(ns, false) {
				f.Invalid(namespaces.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+fault)
			}
		}
	}
}

func knownVerbs(f *rule.Faults, list []string, at *field.Path) {
	if !alone(f, list, at, "verbs must contain at least one value", "verbs") {
		return
	}
	for _, v := range list {
		if !slices.Contains(verbs, v) {
			f.Add(field.NotSupported(at, list, verbs))
			return
		}
	}
}

// alone checks that a list is not empty, and that its wildcard stands alone. It reports whether there are
// names to check.
func alone(f *rule.Faults, list []string, at *field.Path, empty, others string) bool {
	switch {
	case len(list) == 0:
		f.Required(at, empty)
		return false
	case !slices.Contains(list, "*"):
		return true
	case len(list) > 1:
		f.Invalid(at, list, "if '*' is present, must not specify other "+others)
	}
	return false
}

// urlFault says what is wrong with the path of a non-resource request, "" if nothing.
func urlFault(path string) string {
	switch stars := strings.Count(path, "*"); {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1, stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
