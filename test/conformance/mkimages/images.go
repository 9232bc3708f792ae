package main

import (
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"

	imageutils "k8s.io/kubernetes/test/utils/image"
)

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// config is the subset of the OCI image configuration that is used here.
type config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
}

type image struct {
	id     imageutils.ImageID
	layers []string // names of the directories under work/
	config config
}

// build makes the contents of the layers below out/work, then the archives.
func build(out string) {
	w := work(filepath.Join(out, "work"))
	check(os.RemoveAll(w.dir()))
	check(os.MkdirAll(w.dir(), 0o755))
	kube := strings.TrimSpace(output("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"))
	testImages := filepath.Join(kube, "test", "images")
	w.busybox()
	w.agnhostTools()
	w.glibc()
	w.nginx()
	w.agnhost(testImages)
	w.pages(testImages)
	w.noNewPrivileges()
	w.servers()
	w.pause()
	images := images()
	w.pack(out, images)
	check(os.RemoveAll(w.dir()))
	log.Printf("%d images in %s (list: images.txt, all of them: all.tar)", len(images), out)
}

// images says which layers each image has, from the bottom up.
func images() []image {
	agnhost := func(id imageutils.ImageID, cmd string, extra ...string) image {
		return image{id, append([]string{"busybox", "agnhost-tools", "agnhost"}, extra...), config{
			Entrypoint: []string{"/agnhost"}, Cmd: []string{cmd},
			ExposedPorts: map[string]struct{}{"80/tcp": {}, "8080/tcp": {}, "8081/tcp": {}, "9376/tcp": {}, "5000/tcp": {}},
		}}
	}
	nginx := func(id imageutils.ImageID) image {
		return image{id, []string{"nginx", "busybox"}, config{Cmd: []string{"nginx", "-g", "daemon off;"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}}}
	}
	return []image{
		agnhost(imageutils.Agnhost, "pause"),
		agnhost(imageutils.AgnhostPrev, "pause"),
		agnhost(imageutils.Kitten, "test-webserver", "kitten"),
		agnhost(imageutils.Nautilus, "test-webserver", "nautilus"),
		{imageutils.BusyBox, []string{"busybox"}, config{Cmd: []string{"sh"}}},
		{imageutils.NonRoot, []string{"busybox"}, config{Cmd: []string{"sh"}, User: "1234"}},
		{imageutils.Nonewprivs, []string{"busybox", "nonewprivs"}, config{Cmd: []string{"nnp"}}},
		{imageutils.Pause, []string{"pause"}, config{Entrypoint: []string{"/pause"}, User: "65535:65535"}},
		{imageutils.GlibcDnsTesting, []string{"glibc"}, config{Cmd: []string{"bash"}}},
		nginx(imageutils.Nginx),
		nginx(imageutils.NginxNew),
		{imageutils.APIServer, []string{"busybox", "sample-apiserver"}, config{Entrypoint: []string{"/sample-apiserver"}}},
		{imageutils.Etcd, []string{"busybox", "etcd"}, config{Cmd: []string{"etcd"}}},
	}
}

// pack writes an archive for each image and one for all. Images share layers.
func (w work) pack(out string, images []image) {
	all, err := newArchive(filepath.Join(out, "all.tar"))
	check(err)
	layers := map[string]*layer{}
	var list []string
	for _, im := range images {
		c := imageutils.GetConfig(im.id)
		ref := c.GetE2EImage()
		im.config.Env = []string{path}
		im.config.WorkingDir = "/"
		im.config.Labels = map[string]string{"conformance.stand-in": ref} // keeps every image ID distinct
		var ls []*layer
		for _, name := range im.layers {
			if layers[name] == nil {
				layers[name] = packLayer(w.dir(name))
			}
			ls = append(ls, layers[name])
		}
		file := strings.NewReplacer("/", "_", ":", "_").Replace(strings.TrimPrefix(ref, "registry.k8s.io/")) + ".tar"
		one, err := newArchive(filepath.Join(out, file))
		check(err)
		one.add(ref, im.config, ls)
		one.close()
		all.add(ref, im.config, ls)
		list = append(list, ref+" "+file)
	}
	all.close()
	sort.Strings(list)
	write(filepath.Join(out, "images.txt"), 0o644, strings.Join(list, "\n")+"\n")
}

func version(id imageutils.ImageID) string {
	c := imageutils.GetConfig(id)
	ref := c.GetE2EImage()
	return ref[strings.LastIndex(ref, ":")+1:]
}
