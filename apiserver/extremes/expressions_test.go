package extremes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// TestAmountsInExpressions: an amount is an amount in every expression, but for those that cost too much.
func TestAmountsInExpressions(t *testing.T) {
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: environment.DefaultCompatibilityVersion(),
		EnvOptions:        []cel.EnvOption{cel.Variable("text", cel.DynType)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		expression string
		text       any
		want       string
		cost       uint64
	}{
		{`quantity(text).isGreaterThan(quantity('1'))`, "2", "true", 4},
		{`quantity(text).isGreaterThan(quantity('1'))`, "1e999999999", "quantities must match the regular expression", 0},
		{`quantity(text).isGreaterThan(quantity('1'))`, strings.Repeat("9", 1<<20), "quantities must match the regular expression", 0},
		{`quantity('1e-999999999') == quantity('1')`, "", "quantities must match the regular expression", 0},
		{`isQuantity(text)`, "1e-999999999", "false", 3},
		{`isQuantity(text)`, "1e-9999", "true", 2},
		{`isQuantity(text)`, "a", "false", 2},
		{`quantity(text).isInteger()`, "x", "quantities must match the regular expression", 0},
		{`quantity(text).isInteger()`, 1, "no such overload", 0},
		{`isQuantity(text)`, 1, "no such overload", 0},
	} {
		for _, env := range []*cel.Env{set.NewExpressionsEnv(), set.StoredExpressionsEnv()} {
			ast, issues := env.Compile(tt.expression)
			if issues.Err() != nil {
				t.Fatal(issues.Err())
			}
			program, err := env.Program(ast)
			if err != nil {
				t.Fatal(err)
			}
			got, details, err := program.Eval(map[string]any{"text": tt.text})
			if said := fmt.Sprint(err, got); !strings.Contains(said, tt.want) {
				t.Errorf("%s of %.20v: %.300s", tt.expression, tt.text, said)
			}
			if cost := details.ActualCost(); tt.cost > 0 && (cost == nil || *cost != tt.cost) {
				t.Errorf("%s of %.20v costs %v, want %d", tt.expression, tt.text, *cost, tt.cost)
			}
		}
	}
}
