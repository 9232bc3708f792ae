package differential

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// An outcome is what came of a write, in lines that can be compared. Either there are faults or all the rest.
type outcome struct {
	faults   []string // type, field and message of each cause, once
	repeats  []string // the causes given more than once
	warnings []string
	object   []string // path and value of each field of the stored object
	columns  []string // of the table that shows it
	cells    []string
	stored   []byte // the stored object, in the version of the write
}

// The same for both sides: who writes, and what the server gives a new object.
var (
	writer  = &user.DefaultInfo{Name: "jane", Groups: []string{"ops"}}
	created = metav1.NewTime(time.Unix(1700000000, 0))
)

const uid = "uid-1"

// errDecode marks bodies that do not become objects at all.
var errDecode = errors.New("decode")

// undecodable is the fault of those. What it says is not the kind's but the decoder's affair.
const undecodable = "the body is not an object of the kind"

// record runs a write and turns the error it ends with, or its panic, into faults.
func record(write func(o *outcome) error) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = outcome{faults: []string{fmt.Sprint("panic: ", r)}}
		}
	}()
	if err := write(&o); err != nil {
		faults, repeats := firsts(faultsOf(err))
		return outcome{faults: faults, repeats: repeats}
	}
	return o
}

// firsts splits lines into those that come for the first time and those that come again.
func firsts(lines []string) (first, again []string) {
	for _, line := range lines {
		if slices.Contains(first, line) {
			again = append(again, line)
		} else {
			first = append(first, line)
		}
	}
	slices.Sort(again)
	return first, again
}

func faultsOf(err error) []string {
	if errors.Is(err, errDecode) {
		return []string{undecodable}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonInvalid || status.Status().Details == nil {
		return []string{"error: " + err.Error()}
	}
	var list []string
	for _, c := range status.Status().Details.Causes {
		list = append(list, fmt.Sprintf("%s %s: %s", c.Type, c.Field, c.Message))
	}
	return list
}

// keep writes the stored object down.
func (o *outcome) keep(data []byte) error {
	var fields any
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	o.stored = data
	o.object = flatten(nil, "", fields)
	return nil
}

// flatten appends a line for every value of v that holds no others.
func flatten(lines []string, path string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			lines = flatten(lines, path+"."+key, v[key])
		}
		if len(v) > 0 {
			return lines
		}
	case []any:
		for i, element := range v {
			lines = flatten(lines, fmt.Sprintf("%s[%d]", path, i), element)
		}
		if len(v) > 0 {
			return lines
		}
	}
	return append(lines, fmt.Sprintf("%s: %s", path, encoded(v)))
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// table writes down a row and the columns of its table.
func (o *outcome) table(columns []metav1.TableColumnDefinition, row metav1.TableRow) {
	for _, c := range columns {
		o.columns = append(o.columns, fmt.Sprintf("%s|%s|%s|%d|%s", c.Name, c.Type, c.Format, c.Priority, c.Description))
	}
	for i, cell := range row.Cells {
		name := "(no column)"
		if i < len(columns) {
			name = columns[i].Name
		}
		o.cells = append(o.cells, name+" = "+encoded(cell))
	}
	for _, c := range row.Conditions {
		o.cells = append(o.cells, fmt.Sprintf("condition %+v", c))
	}
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
