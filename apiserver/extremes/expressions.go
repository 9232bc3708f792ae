package extremes

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/api/resource"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Every expression of Kubernetes runs in an environment that the library makes once for all, from options that are no
// one's but its own. The last of them it shows, and shares: that is how these come into all environments, those too that
// the library makes for itself.
func init() {
	shared := environment.StrictCostOpt.ProgramOptions
	last := len(shared) - 1
	shared[last] = both(shared[last], cel.CustomDecorator(boundAmounts))
}

// both is two options as one; P is a type that the library does not name.
func both[O ~func(P) (P, error), P any](one, other O) O {
	return func(p P) (P, error) {
		p, err := one(p)
		if err != nil {
			return p, err
		}
		return other(p)
	}
}

// boundAmounts has calls of quantity and isQuantity refuse what would cost them minutes, for the price of a call says
// nothing of its argument.
func boundAmounts(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 1 {
		return i, nil
	}
	switch call.OverloadID() {
	case "string_to_quantity":
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), toAmount), nil
	case "is_quantity_string":
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), isAmount), nil
	}
	return i, nil
}

func parse(text string) (resource.Quantity, error) {
	if IsAbsurd(text) {
		return resource.Quantity{}, resource.ErrFormatWrong
	}
	return resource.ParseQuantity(text)
}

func toAmount(args ...ref.Val) ref.Val {
	text, ok := args[0].Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	q, err := parse(text)
	if err != nil {
		return types.WrapErr(err)
	}
	return apiservercel.Quantity{Quantity: &q}
}

func isAmount(args ...ref.Val) ref.Val {
	text, ok := args[0].Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	_, err := parse(text)
	return types.Bool(err == nil)
}
