package extremes

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nested is a message inside of a message, n deep.
func nested(n int) []byte {
	sizes := make([]int, n+1)
	for i := 1; i <= n; i++ {
		sizes[i] = sizes[i-1] + 1 + len(binary.AppendUvarint(nil, uint64(sizes[i-1])))
	}
	var out []byte
	for i := n - 1; i >= 0; i-- {
		out = binary.AppendUvarint(append(out, 0x0a), uint64(sizes[i]))
	}
	return out
}

func TestTooDeep(t *testing.T) {
	long := corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("\n\n\n", 300_000)}}
	text, err := long.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		raw  []byte
		want bool
	}{
		"nothing":                  {nil, false},
		"small":                    {nested(1000), false},
		"as deep as may be":        {append(nested(maxDepth-2), make([]byte, shallow)...), false},
		"too deep":                 {nested(100_000), true},
		"too deep, behind a group": {append([]byte{0x7b, 0x7c}, nested(100_000)...), true},
		"too deep, behind numbers": {append([]byte{0x08, 0xff, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d, 1, 2, 3, 4}, nested(100_000)...), true},
		"text of line feeds":       {text, false},
		"a length that lies":       {append([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, make([]byte, shallow)...), false},
	} {
		if got := TooDeep(tt.raw); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAmounts(t *testing.T) {
	limits, pod := reflect.TypeFor[corev1.LimitRange](), reflect.TypeFor[corev1.Pod]()
	for _, tt := range []struct {
		kind reflect.Type
		text string
		want bool
	}{
		{limits, `{"spec":{"limits":[{"max":{"cpu":"1e-999999999"}}]}}`, true},
		{limits, `{"spec":{"limits":[{"max":{"cpu":" -1.5E+99999 "}}]}}`, true},
		{limits, `{"spec":{"limits":[{"max":{"cpu":1e-99999}}]}}`, true},
		{limits, `{"spec":{"limits":[{"max":{"cpu":"\u0031e-99999"}}]}}`, true},
		{limits, `{"spec":{"limits":[{"max":{"cpu":"1e-9999"}}]}}`, false},
		{limits, `{"metadata":{"annotations":{"a":"1e-99999"}}}`, false},
		{pod, `{"spec":{"containers":[{"name":"1e99999","resources":{"requests":{"cpu":"1e99999"}}}]}}`, true},
		{pod, `{"spec":{"containers":[{"name":"1e99999","env":[{"value":"1e-99999"}]}]}}`, false},
		{pod, `{"spec":{"overhead":{"memory":"1e-99999"}}}`, true},
		{pod, `[1e-99999]`, false},
		{pod, `{"spec":{"overhead":{"memory":"` + strings.Repeat("9", 3<<10) + `.` + strings.Repeat("9", 3<<10) + `"}}}`, true},
		{pod, `{"spec":{"overhead":{"memory":"` + strings.Repeat("9", 3<<10) + `"}}}`, false},
		{pod, `{"metadata":{"annotations":{"a":"` + strings.Repeat("9", 5<<10) + `"}}}`, false},
	} {
		v, err := Decode([]byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := MayHoldAmount([]byte(tt.text)) && HasAmount(tt.kind, v); got != tt.want {
			t.Errorf("%s in %s: %v", tt.text, tt.kind, got)
		}
	}
	for text, want := range map[string]bool{`a \u003c b \u003e c \u0026 d`: false, `"\n\t\\x"`: false, `1e-1234`: false, `0e123456`: true, `.E-12345`: true, `"\x31"`: true} {
		if got := MayHoldAmount([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestMessages(t *testing.T) {
	amount := func(text string) []byte {
		inner := append([]byte{0x0a, byte(len(text))}, text...)
		return append([]byte{0x12, byte(len(inner))}, inner...)
	}
	if !HasMessage(amount("1e-999999999")) || HasMessage(amount("1e-9")) || HasMessage([]byte("\x0a\xff")) {
		t.Error("amounts in messages are not told apart")
	}
}

// FuzzAmount: what is let through is read, and compared, in no time.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"1e-999999999", "1e400", "100m", "1E-9999", " 1E+99999", "0.1Ei", "-1e9999"} {
		f.Add(s)
	}
	one := resource.MustParse("1")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<20 || IsAbsurd(s) {
			return
		}
		start := time.Now()
		if q, err := resource.ParseQuantity(strings.TrimSpace(s)); err == nil {
			q.Cmp(one)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q took %v", s, took)
		}
	})
}

// FuzzTooDeep: no bytes make it panic, and what it lets through a decoder can read.
func FuzzTooDeep(f *testing.F) {
	f.Add(nested(10), 3)
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		whole := append(nested(max(n, 0)%100_000), raw...)
		HasMessage(whole)
		if !TooDeep(whole) {
			_ = (&metav1.LabelSelector{}).Unmarshal(whole)
		}
	})
}
