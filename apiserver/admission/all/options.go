package all

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Validate returns every fault of the names, in upstream's words.
func (o *Options) Validate() error {
	var faults []error
	for _, flag := range []struct {
		name    string
		plugins []string
	}{{"enable-admission-plugins", o.Enable}, {"disable-admission-plugins", o.Disable}} {
		for _, name := range flag.plugins {
			if find(name) == nil {
				faults = append(faults, fmt.Errorf("%s plugin %q is unknown", flag.name, name))
			}
		}
	}
	var both []string
	for _, name := range o.Enable {
		if slices.Contains(o.Disable, name) {
			both = append(both, name)
		}
	}
	if len(both) > 0 {
		slices.Sort(both)
		faults = append(faults, fmt.Errorf("%v in enable-admission-plugins and disable-admission-plugins overlapped", slices.Compact(both)))
	}
	return errors.Join(faults...)
}

func (o *Options) enabled(p *plugin) bool {
	return slices.Contains(o.Enable, p.name) || !p.off && !slices.Contains(o.Disable, p.name)
}

func find(name string) *plugin {
	i := slices.IndexFunc(order, func(p plugin) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &order[i]
}

// Names lists all plug-ins, or those that are on by default, for a flag's help.
func Names(all bool) string {
	var out []string
	for i := range order {
		if all || !order[i].off {
			out = append(out, order[i].name)
		}
	}
	return strings.Join(out, ", ")
}
