package resource

import (
	"errors"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/dynamic-resource-allocation/cel"

	"clipper/catalogue/rule"
)

// expression compiles what a selector asks of a device. The compiler is made when the first one comes.
func expression(f *rule.Faults, text string, at *field.Path) {
	result := cel.GetCompiler(cel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, cel.Options{})
	if result.Error != nil {
		f.Add(expressionFault(at, text, result.Error))
	} else if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		f.Forbidden(at, "too complex, exceeds cost limit")
	}
}

func expressionFault(at *field.Path, text string, err error) *field.Error {
	fault := &apiservercel.Error{}
	if errors.As(err, &fault) {
		switch fault.Type {
		case apiservercel.ErrorTypeRequired:
			return field.Required(at, fault.Detail)
		case apiservercel.ErrorTypeInvalid:
			return field.Invalid(at, text, fault.Detail)
		}
	}
	return field.InternalError(at, fmt.Errorf("compile the expression: %w", err))
}
