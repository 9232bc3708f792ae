package main

import (
	"os"
	"path/filepath"

	"clipper/image/build"
)

// recipesVersion is raised when the way of building changes, so that old archives are made again.
const recipesVersion = 1

// A recipe says what an image is made of: Debian packages, Go programs, files of files/NAME, in this order.
type recipe struct {
	name     string   // of the archive
	refs     []string // the names it stands for
	packages []string // with all that they depend on
	programs map[string]string
	files    string
	scratch  bool // no busybox below
	finish   func(root string) error
	spec     build.Spec
}

var recipes = []recipe{
	{
		name: "busybox", refs: []string{"busybox", "busybox:1.36", "busybox:1.28", "k8s.gcr.io/busybox", "registry.k8s.io/busybox", "alpine", "alpine:3.20"},
		spec: build.Spec{Cmd: []string{"sh"}},
	},
	{
		name: "nginx", refs: []string{"nginx", "nginx:1.25", "nginx:1.27", "nginx:alpine", "nginx:1.14.2"},
		packages: []string{"nginx"}, files: "nginx",
		finish: func(root string) error {
			return removeAll(root, "etc/nginx/modules-enabled", "etc/nginx/sites-enabled", "usr/share/nginx/html/index.nginx-debian.html")
		},
		spec: build.Spec{Cmd: []string{"nginx", "-g", "daemon off;"}, Expose: []string{"80"}, StopSignal: "SIGQUIT"},
	},
	{
		name: "redis", refs: []string{"redis", "redis:7", "redis:7.0"},
		packages: []string{"redis-server"},
		finish:   func(root string) error { return makeDirs(root, "data") },
		spec: build.Spec{
			Cmd:    []string{"redis-server", "--protected-mode", "no", "--dir", "/data"},
			Expose: []string{"6379"}, WorkDir: "/data",
		},
	},
	{
		name: "flask", refs: []string{"digitalocean/flask-helloworld"},
		packages: []string{"python3-flask"}, files: "flask",
		spec: build.Spec{Cmd: []string{"python3", "app.py"}, WorkDir: "/app", Expose: []string{"5000"}, Env: []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"}},
	},
	{
		name: "test-webserver", refs: []string{"k8s.gcr.io/test-webserver", "registry.k8s.io/test-webserver"}, scratch: true,
		programs: map[string]string{"test-webserver": "./test/images/test-webserver"},
		spec:     build.Spec{Entrypoint: []string{"/test-webserver"}, Expose: []string{"80"}},
	},
	{
		name: "mariadb", refs: []string{"mariadb", "mariadb:10.11", "mysql", "mysql:5.6", "mysql:8"},
		packages: []string{"mariadb-server-core", "mariadb-client"}, files: "mariadb",
		finish: func(root string) error { return makeDirs(root, "run/mysqld", "var/lib/mysql") },
		spec:   build.Spec{Entrypoint: []string{"/usr/local/bin/entrypoint"}, Cmd: []string{"mariadbd"}, Expose: []string{"3306"}},
	},
	{
		name: "wordpress", refs: []string{"wordpress", "wordpress:6.1", "wordpress:6"},
		packages: []string{"wordpress", "wordpress-theme-twentytwentythree", "apache2", "libapache2-mod-php", "php-mysql"}, files: "wordpress",
		finish: func(root string) error { return makeDirs(root, "run", "var/lib/wordpress/wp-content/uploads") },
		spec: build.Spec{
			Entrypoint: []string{"/usr/local/bin/entrypoint"},
			Cmd:        []string{"apache2", "-d", "/etc/apache2", "-f", "apache2.conf", "-D", "FOREGROUND"},
			Expose:     []string{"80"}, WorkDir: "/usr/share/wordpress",
		},
	},
	{
		name: "csidriver", refs: []string{"clipper-test/csidriver:1"}, scratch: true,
		programs: map[string]string{"csidriver": "./test/csidriver"},
		spec:     build.Spec{Entrypoint: []string{"/csidriver"}},
	},
	{
		name: "deviceplugin", refs: []string{"clipper-test/deviceplugin:1"}, scratch: true,
		programs: map[string]string{"deviceplugin": "./test/deviceplugin"},
		spec:     build.Spec{Entrypoint: []string{"/deviceplugin"}},
	},
	{
		name: "dradriver", refs: []string{"clipper-test/dradriver:1"}, scratch: true,
		programs: map[string]string{"dradriver": "./test/dradriver"},
		spec:     build.Spec{Entrypoint: []string{"/dradriver"}},
	},
	{
		name: "demo-front", refs: []string{"clipper-demo/front:1"}, scratch: true,
		programs: map[string]string{"front": "./demo/front"},
		spec:     build.Spec{Entrypoint: []string{"/front"}, Expose: []string{"8080"}, User: "65532:65532"},
	},
	{
		name: "demo-store", refs: []string{"clipper-demo/store:1"}, scratch: true,
		programs: map[string]string{"store": "./demo/store"},
		spec:     build.Spec{Entrypoint: []string{"/store"}, Expose: []string{"7070"}, User: "65532:65532"},
	},
}

func removeAll(root string, names ...string) error {
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(root, n)); err != nil {
			return err
		}
	}
	return nil
}

func makeDirs(root string, names ...string) error {
	for _, n := range names {
		if err := os.MkdirAll(filepath.Join(root, n), 0o755); err != nil {
			return err
		}
	}
	return nil
}
