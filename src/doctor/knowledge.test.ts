import { describe, expect, it } from 'vitest';
import { explain, nearestSymptom, SYMPTOMS } from './knowledge.ts';

describe('messages that troubleshooting texts teach', () => {
  it.each([
    [
      "error: unable to open '/sys/fs/cgroup/machine/qemu-1-web.libvirt-qemu/': No such file or directory",
      'cgroup-v2-populated-root',
    ],
    ['Failed to create symlink /sys/fs/cgroup/net_cls: Operation not permitted', 'lxc-join-controllers'],
    ['error: invalid argument: could not find capabilities for domaintype=kvm', 'kvm-no-capabilities'],
    ["error: Failed to connect socket to '/run/libvirt/virtlogd-sock': No such file or directory", 'virtlogd-socket'],
    ['Could not access KVM kernel module: No such file or directory', 'kvm-module'],
    ['qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69', 'kvm-msr'],
    ['Could not access /dev/kvm: Permission denied', 'kvm-dev-permission'],
    ["Could not open '/dev/sdb': Operation not permitted", 'device-cgroup-denied'],
    ["error: Cannot get interface MTU on 'br0': No such device", 'bridge-missing'],
    ["error: internal error: Network 'default' is not active.", 'network-not-active'],
    ["error: Requested operation is not valid: network 'default' is not active", 'network-not-active'],
    ['Memory cgroup out of memory: Killed process 1234 (qemu-system-x86)', 'oom-killed'],
    ['nothing on the serial console', 'silent-console'],
    // Not what is behind every socket that cannot be reached.
    [
      "error: Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied",
      'libvirt-socket-permission',
    ],
    ["error: Failed to connect socket to '/run/libvirt/virtlockd-sock': No such file or directory", 'lockd-socket'],
    ["error: resource busy: Lockspace resource '/images/a.qcow2' is locked", 'lockd-locked'],
    ['qemu-system-x86_64: Failed to get "write" lock', 'image-locked'],
  ])('%s', (text, id) => expect(explain(text)[0]?.symptom.id).toBe(id));
});

/** Word for word as the troubleshooting list has them, dots and all. */
describe('cases', () => {
  it.each([
    ["unable to open '/sys/fs/cgroup/machine/…': No such file or directory", 'cgroup-v2-populated-root'],
    ['Failed to create symlink /sys/fs/cgroup/net_cls: Operation not permitted', 'lxc-join-controllers'],
    ['Could not find capabilities for domaintype=kvm', 'kvm-no-capabilities'],
    ["Failed to connect socket to '/run/libvirt/virtlogd-sock'", 'virtlogd-socket'],
    ['Could not access KVM kernel module', 'kvm-module'],
    ['failed to set MSR', 'kvm-msr'],
    ['QEMU dropping root and /dev/kvm permissions', 'kvm-dev-permission'],
    ['device cgroup denials', 'device-cgroup-denied'],
    ['bridge missing', 'bridge-missing'],
    ["network 'default' is not active", 'network-not-active'],
    ['OOM-killed guests', 'oom-killed'],
    ['nothing on the serial console', 'silent-console'],
    ['An error occurred. Authoring the TPM state failed.', 'swtpm-authority'],
  ])('%s', (text, id) => expect(explain(text).map(({ symptom }) => symptom.id)).toEqual([id]));
});

describe('the table', () => {
  it('has a cause and a fix for everything, and ids once', () => {
    expect(new Set(SYMPTOMS.map(({ id }) => id)).size).toBe(SYMPTOMS.length);
    for (const { id, cause, fix, patterns } of SYMPTOMS) {
      expect([id, cause.length > 20, fix.length > 5, patterns.length > 0]).toEqual([id, true, true, true]);
      expect(`${cause} ${fix}`).not.toContain('replace(');
    }
  });

  it('is read at a glance: causes are short, and fixes begin with what to type', () => {
    const long = SYMPTOMS.filter(({ cause, fix }) => cause.length > 210 || fix.length > 230).map(({ id }) => id);
    expect(long).toEqual([]);
    // Commands and settings that do not exist, or not under that name.
    const wrong = /unix_sock_auth|-C qemu-system-x86_64|virsh undefine NAME,/;
    expect(SYMPTOMS.filter(({ fix }) => wrong.test(fix)).map(({ id }) => id)).toEqual([]);
  });

  it('names causes before what only follows from them', () => {
    const log =
      'error: Failed to start domain\nqemu unexpectedly closed the monitor: 2026\nqemu: Could not open backing file: no\n';
    expect(explain(log).map(({ symptom, line }) => [symptom.id, line])).toEqual([
      ['backing-missing', 3],
      ['qmp-exited', 2],
    ]);
  });

  it('says nothing of what it does not know, but may know what is near', () => {
    expect(explain('all is well')).toEqual([]);
    expect(nearestSymptom('all is well')).toBeUndefined();
    expect(nearestSymptom('swtpm emulated guest installed somewhere')?.id).toBe('swtpm-missing');
  });
});
