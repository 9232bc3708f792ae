// Command etcd is etcd, for tests that expect one on the PATH. It ends with the process that started it, however that ends.
package main

import (
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	go endWithParent(os.Getppid())
	etcdmain.Main(os.Args)
}

// endWithParent looks now and then: the signal that the kernel offers comes when a thread ends.
func endWithParent(parent int) {
	for os.Getppid() == parent {
		time.Sleep(time.Second)
	}
	os.Exit(1)
}
