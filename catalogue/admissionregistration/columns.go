package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/catalogue/table"
)

func paramKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return table.Unset
	}
	return k.APIVersion + "/" + k.Kind
}

// paramRef names the parameter object. Without a namespace it may be in any, or cluster-scoped.
func paramRef(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return table.Unset
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return table.Unset
}
