package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/catalogue/table"
)

// bindingColumns are those of both kinds of policy bindings.
var bindingColumns = []table.Column{
	table.Name,
	table.String("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
	table.String("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
	table.Age,
}

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
