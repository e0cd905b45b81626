/** The lines of a build farm's guide, word for word, with the real `virsh -c lxc:///system`: our daemon is where libvirt's would be. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';

describe.skipIf(!canRunContainers())("a build farm's guide", () => {
  let folder = '';
  let rootfs = '';
  let daemon: TestDaemon;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-farm-'));
    rootfs = makeBusyboxRoot(folder);
    daemon = await startDaemon();
  });

  afterAll(async () => {
    shell('virsh destroy jenkins-debian-12 >/dev/null 2>&1; true');
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** In a mount namespace where libvirt's sockets are the daemon's. */
  function shell(line: string, env: NodeJS.ProcessEnv = {}, input = ''): { status: number | null; words: string } {
    const script = `mkdir -p /run/libvirt && mount --bind ${daemon.stateDir}/run /run/libvirt && ${line}`;
    const { status, stdout, stderr } = spawnSync('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script], {
      encoding: 'utf8',
      input,
      timeout: 30_000,
      env: { ...process.env, LIBVIRT_DEFAULT_URI: 'lxc:///system', ...env },
    });
    return { status, words: `${stdout}${stderr}` };
  }

  function configuration(name: string): string {
    const path = join(folder, `${name}.conf`);
    const lines = [
      `lxc.rootfs.path = dir:${rootfs}`,
      'lxc.init.cmd = /bin/sh',
      'lxc.net.0.type = veth',
      'lxc.net.0.hwaddr = 52:54:00:12:34:56',
      'lxc.net.0.link = virbr7',
    ];
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  }

  it('takes over LXC configurations', async () => {
    for (const name of ['jenkins-debian-12', 'jenkins-centos-6', 'other']) {
      const path = configuration(name);
      const x = join(folder, 'x');
      const line = `virsh -c lxc:///system domxml-from-native lxc-tools ${path} | sed -e 's,<name>.*</name>,<name>${name}</name>,' -e '/<uuid>/d' > ${x} && virsh -c lxc:///system define ${x}`;
      expect(shell(line)).toMatchObject({ status: 0, words: expect.stringContaining(`Domain '${name}' defined`) });
    }
    const warning =
      "domain 'jenkins-centos-6': MAC address 52:54:00:12:34:56 is also that of domain 'jenkins-debian-12'";
    await pollUntil(() => daemon.words().includes(warning), 'nobody warns of equal MAC addresses');
  });

  it('edits all that have a name, and gives them an interface', () => {
    const home = join(folder, 'home');
    mkdirSync(home);
    writeFileSync(join(home, 'file'), 'shared');
    const share = `<filesystem type="mount" accessmode="passthrough"><source dir="${home}"/><target dir="/home"/></filesystem>`;
    const editor = join(folder, 'editor');
    writeFileSync(editor, `#!/bin/sh\nsed -i 's,</devices>,${share}</devices>,' "$1"\n`, { mode: 0o755 });
    const edited = shell(
      `virsh list --all | awk '{print $2}' | grep jenkins | while read X ; do virsh edit --skip-validate $X ; done`,
      { EDITOR: editor },
    );
    expect(edited.words.match(/XML configuration edited/g)).toHaveLength(2);
    const attach = `virsh list --all | awk '{print $2}' | grep jenkins | while read X ; do virsh dumpxml "$X" | grep "bridge='lxcbr0'" || virsh attach-interface --domain "$X" --config --type bridge --source lxcbr0 ; done`;
    expect(shell(attach).words.match(/Interface attached successfully/g)).toHaveLength(2);
    expect(shell(attach).words.match(/bridge='lxcbr0'/g)).toHaveLength(2);
    expect(shell('virsh dumpxml other').words).not.toMatch(/lxcbr0|\/home/);
  });

  it('shows the shared home on the console', () => {
    const edit = `virsh dumpxml jenkins-debian-12 | sed -e '/<interface/,/<.interface>/d' > ${folder}/y && virsh define ${folder}/y && virsh start jenkins-debian-12`;
    expect(shell(edit)).toMatchObject({ status: 0 });
    const typed = "(sleep 1; printf 'cat /home/file; echo\\n'; sleep 1; printf '\\035')";
    const session = shell(`${typed} | script -qec 'virsh console jenkins-debian-12' /dev/null`);
    expect(session.words).toMatch(/Escape character is \^\][^]*shared/);
    expect(shell('virsh destroy jenkins-debian-12').status).toBe(0);
  });
});
