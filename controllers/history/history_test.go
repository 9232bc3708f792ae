package history

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
)

func TestHashes(t *testing.T) {
	a, b := controllertest.Template("web"), controllertest.Template("web")
	one := int32(1)
	if TemplateHash(&a, nil) != TemplateHash(&b, nil) || TemplateHash(&a, nil) == TemplateHash(&a, &one) {
		t.Error("the hash depends on something else than template and collisions")
	}
	if DataHash([]byte("x"), nil) == DataHash([]byte("x"), &one) || DataHash([]byte("x"), nil) == DataHash([]byte("y"), nil) {
		t.Error("data hashes alike")
	}
	b.Spec.Containers[0].Image = "other"
	if TemplateHash(&a, nil) == TemplateHash(&b, nil) {
		t.Error("another image has the same hash")
	}
}

func TestHistory(t *testing.T) {
	c := inprocesstest.New(t)
	ds, err := api.DaemonSets.Create(t.Context(), c, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ds"},
		Spec:       appsv1.DaemonSetSpec{Selector: controllertest.Selector("ds"), Template: controllertest.Template("ds")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ds = ds.DeepCopy()
	current := func(image string) (*appsv1.ControllerRevision, []*appsv1.ControllerRevision) {
		t.Helper()
		ds.Spec.Template.Spec.Containers[0].Image = image
		p := Parent{Object: ds, Resource: api.DaemonSets.Resource, Template: &ds.Spec.Template, Selector: ds.Spec.Selector,
			Label: appsv1.DefaultDaemonSetUniqueLabelKey, Hash: func([]byte) string { return TemplateHash(&ds.Spec.Template, nil) }}
		all, err := List(t.Context(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		r, all, err := Current(t.Context(), c, p, all)
		if err != nil {
			t.Fatal(err)
		}
		return r, all
	}
	first, _ := current("a")
	if again, all := current("a"); again != first || len(all) != 1 {
		t.Errorf("the same template gave %v", again)
	}
	second, _ := current("b")
	if second.Revision != 2 {
		t.Errorf("second revision is %d", second.Revision)
	}
	back, all := current("a")
	if back.Name != first.Name || back.Revision != 3 || len(all) != 2 || all[1] != back {
		t.Errorf("going back gave %s revision %d of %d", back.Name, back.Revision, len(all))
	}
	if tpl, err := Template(second); err != nil || tpl.Spec.Containers[0].Image != "b" {
		t.Errorf("template %+v, %v", tpl, err)
	}
	for i := range 3 {
		_, all = current(string(rune('c' + i)))
	}
	if err := Truncate(t.Context(), c, all, 1, func(r *appsv1.ControllerRevision) bool { return r.Name == back.Name }); err != nil {
		t.Fatal(err)
	}
	if left := api.ControllerRevisions.View(c).List("default"); len(left) != 2 {
		t.Errorf("%d revisions are left, want the one in use and the newest", len(left))
	}
}
