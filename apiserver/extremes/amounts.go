package extremes

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// absurd is an amount whose exponent has five digits or more. The largest that anybody can mean has two.
var absurd = regexp.MustCompile(`^\s*[+-]?[0-9.]+[eE][+-]?[0-9]{5,}\s*$`)

const (
	// exponent is how many digits make an exponent absurd.
	exponent = 5
	// longest is how long an amount may be: what it costs to read is quadratic in its digits.
	longest = 4 << 10
)

// written are the characters of amounts.
const written = "\t\n\v\f\r +-.0123456789EKMGTPeikmnu"

// IsAbsurd says whether text would be read as an amount that nobody can mean, at a cost that nobody can pay.
func IsAbsurd(text string) bool {
	return absurd.MatchString(text) || len(text) > longest && strings.TrimLeft(text, written) == ""
}

// MayHoldAmount says whether an absurd amount may be in body, be it written with escapes: few bodies are like that.
func MayHoldAmount(body []byte) bool {
	for from := body; ; {
		i := bytes.IndexByte(from, '\\')
		if i < 0 || i+1 == len(from) {
			break
		}
		if hidesDigit(from[i+1:]) {
			return true
		}
		from = from[i+2:]
	}
	run := 0
	for i, c := range body {
		if run++; !isDigit(c) {
			run = 0
		}
		if run > longest/4 { // there may be a point among them
			return true
		}
		if (c == 'e' || c == 'E') && i > 0 && (isDigit(body[i-1]) || body[i-1] == '.') && digits(body[i+1:]) >= exponent {
			return true
		}
	}
	return false
}

// hidesDigit says whether an escape, what follows a backslash, may stand for a character of an amount.
func hidesDigit(escape []byte) bool {
	switch escape[0] {
	case 'x', 'U', '\n', '\r': // of YAML alone
		return true
	case 'u':
		return len(escape) < 5 || escape[1] == '0' && escape[2] == '0' && strings.IndexByte("2346", escape[3]) >= 0 &&
			!bytes.ContainsAny(escape[4:5], "cCeE6") // <, > and &, which many escape
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// digits counts those that b begins with, behind a sign.
func digits(b []byte) int {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	n := 0
	for n < len(b) && n < exponent && isDigit(b[n]) {
		n++
	}
	return n
}

// Decode reads JSON for HasAmount, numbers as they are written.
func Decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// HasAmount says whether v, what JSON was decoded to, has an absurd amount in a place where t, a Go type, has one.
func HasAmount(t reflect.Type, v any) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == amountType {
		return isAbsurd(v)
	}
	switch t.Kind() {
	case reflect.Struct:
		members, ok := v.(map[string]any)
		return ok && structHasAmount(t, members)
	case reflect.Map:
		members, _ := v.(map[string]any)
		for _, m := range members {
			if HasAmount(t.Elem(), m) {
				return true
			}
		}
	case reflect.Slice:
		items, _ := v.([]any)
		for _, item := range items {
			if HasAmount(t.Elem(), item) {
				return true
			}
		}
	}
	return false
}

var amountType = reflect.TypeFor[resource.Quantity]()

func structHasAmount(t reflect.Type, members map[string]any) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && (name == "" || strings.Contains(options, "inline")):
			if HasAmount(f.Type, members) {
				return true
			}
		case members[name] != nil && HasAmount(f.Type, members[name]):
			return true
		}
	}
	return false
}

// HasAny says whether anything in v, what JSON was decoded to, is an absurd amount.
func HasAny(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, m := range v {
			if HasAny(m) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if HasAny(item) {
				return true
			}
		}
	}
	return isAbsurd(v)
}

func isAbsurd(v any) bool {
	switch v := v.(type) {
	case string:
		return IsAbsurd(v)
	case json.Number:
		return IsAbsurd(v.String())
	}
	return false
}

// HasMessage says whether a protobuf message holds an absurd amount: a message whose first field is one.
func HasMessage(raw []byte) bool {
	levels := [][]byte{raw}
	for len(levels) > 0 {
		top := len(levels) - 1
		inner, rest, ok := nextField(levels[top])
		if !ok || len(levels) > maxDepth {
			levels = levels[:top]
			continue
		}
		if levels[top] = rest; len(inner) > 0 {
			if absurd.Match(inner) || len(inner) > longest && len(bytes.TrimLeft(inner, written)) == 0 {
				return true
			}
			levels = append(levels, inner)
		}
	}
	return false
}
