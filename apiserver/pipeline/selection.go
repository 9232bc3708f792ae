package pipeline

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"clipper/api"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// A Selection says which objects of a resource a list or watch is about.
type Selection struct {
	resource *catalogue.Resource
	labels   labels.Selector // nil: all
	fields   fields.Requirements
	name     string // the one name that can match, if metadata.name is asked for
	// versioned is the served version that the fields are of, where its shape may differ from the stored one.
	versioned *served.Kind
}

// ParseSelection reads the selectors of o. A field the resource cannot be selected by is a bad request.
func ParseSelection(req *Request, o *metav1.ListOptions) (Selection, error) {
	s := Selection{resource: req.Resource}
	if o.LabelSelector != "" {
		sel, err := labels.Parse(o.LabelSelector)
		if err != nil {
			return s, apierrors.NewBadRequest(err.Error())
		}
		if !sel.Empty() {
			s.labels = sel
		}
	}
	if o.FieldSelector != "" {
		sel, err := fields.ParseSelector(o.FieldSelector)
		if err != nil {
			return s, apierrors.NewBadRequest(err.Error())
		}
		if err := s.parseFields(req, sel); err != nil {
			return s, apierrors.NewBadRequest(err.Error())
		}
	}
	if req.Name != "" {
		if s.name != "" && s.name != req.Name || s.name == "" && len(s.fields) > 0 {
			return s, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
		s.name = req.Name
		s.fields = append(s.fields, fields.Requirement{Field: "metadata.name", Operator: selection.Equals, Value: req.Name})
	}
	return s, nil
}

func (s *Selection) parseFields(req *Request, sel fields.Selector) error {
	for _, r := range sel.Requirements() {
		if k := req.Kind; k != nil && k.Version != nil {
			name, ok := storedField(k.Version.Fields, r.Field)
			if !ok {
				return unsupportedField(req, r.Field)
			}
			r.Field = name
		}
		switch {
		case r.Field == "metadata.name":
			if r.Operator != selection.NotEquals {
				s.name = r.Value
			}
		case r.Field == "metadata.namespace" && (req.Resource.Namespaced || metadataOnly(req)):
		case req.Resource.Fields[r.Field] != nil:
			if req.Resource.Custom != nil {
				s.versioned = req.Kind
			}
		default:
			return unsupportedField(req, r.Field)
		}
		s.fields = append(s.fields, r)
	}
	return nil
}

// storedField translates a field's name into the storage version's; false if only that one has it.
func storedField(names map[string]string, name string) (string, bool) {
	if stored := names[name]; stored != "" {
		return stored, true
	}
	for _, stored := range names {
		if stored == name {
			return "", false
		}
	}
	return name, true
}

// Everything says whether all objects match.
func (s Selection) Everything() bool { return s.labels == nil && len(s.fields) == 0 }

// Matches says whether obj is selected.
func (s Selection) Matches(obj api.Object) bool {
	if s.labels != nil && !s.labels.Matches(labels.Set(obj.GetLabels())) {
		return false
	}
	if s.versioned != nil {
		converted, err := s.versioned.FromHub(obj)
		if err != nil {
			return false // what cannot be shown in this version cannot be selected by it
		}
		obj = converted
	}
	for i := range s.fields {
		r := &s.fields[i]
		if (s.value(obj, r.Field) == r.Value) == (r.Operator == selection.NotEquals) {
			return false
		}
	}
	return true
}

func (s Selection) value(obj api.Object, name string) string {
	switch name {
	case "metadata.name":
		return obj.GetName()
	case "metadata.namespace":
		return obj.GetNamespace()
	}
	return s.resource.Fields[name](obj)
}
