package iscsi

import (
	"path/filepath"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Portals":["10.0.0.1:3260"],"IQN":"iqn.x","Number":1,"Interface":"default"}`))
	f.Add([]byte(`{"Portals":["../../x"],"IQN":"iqn/../..","Interface":"default"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parse(b)
		if err != nil {
			return
		}
		if name := filepath.Join("iface-"+l.Interface, l.Name()); filepath.Clean("/"+name) != "/"+name {
			t.Errorf("%q names a directory elsewhere: %s", b, name)
		}
	})
}
