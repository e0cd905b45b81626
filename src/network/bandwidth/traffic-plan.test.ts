/** Which commands of tc limit what. With real traffic: tests/integration/network-bandwidth.test.ts. */
import { describe, expect, it } from 'vitest';
import {
  formatTrafficPlan,
  planInterfaceBandwidth,
  planNetworkBandwidth,
  planPlug,
  planUnplug,
} from './traffic-plan.ts';

const inbound = { average: 1000, peak: 2000, burst: 512 };
const outbound = { average: 300 };

function lines(plan: Parameters<typeof formatTrafficPlan>[0]): string[] {
  return formatTrafficPlan(plan).trimEnd().split('\n');
}

describe('limits of an interface', () => {
  it('queue what the guest receives and drop what it sends too much', () => {
    expect(lines(planInterfaceBandwidth('vnet0', { inbound, outbound }))).toEqual([
      'tc qdisc del dev vnet0 root 2>/dev/null',
      'tc qdisc del dev vnet0 ingress 2>/dev/null',
      'tc qdisc add dev vnet0 root handle 1: htb default 1',
      'tc class add dev vnet0 parent 1: classid 1:1 htb rate 1000kbps ceil 2000kbps burst 512kb quantum 60000',
      'tc qdisc add dev vnet0 parent 1:1 handle 2: sfq perturb 10   # if the kernel can',
      'tc qdisc add dev vnet0 ingress 2>/dev/null',
      'tc filter add dev vnet0 parent ffff: protocol all u32 match u32 0 0 police rate 300kbps burst 300kb mtu 64kb drop flowid :1',
    ]);
  });

  it('are the other way round where the device shows the guest’s side', () => {
    const text = formatTrafficPlan(planInterfaceBandwidth('macvtap0', { inbound, outbound }, { hostView: true }));
    expect(text).toContain('htb rate 300kbps quantum 30000');
    expect(text).toContain('police rate 1000kbps burst 512kb');
  });

  it('are lifted by none, and by those without an average', () => {
    for (const bandwidth of [{}, { inbound: {} }, { inbound: { average: 0, floor: 10 } }]) {
      expect(lines(planInterfaceBandwidth('vnet0', bandwidth))).toHaveLength(2);
    }
  });

  it('have another way where tc cannot drop', () => {
    const { instead } = planInterfaceBandwidth('vnet0', { outbound }).steps.at(-1) ?? {};
    expect(instead).toContain('limit rate over 300000 bytes/second burst 307200 bytes drop');
  });

  it('refuse a name that would be a command', () => {
    expect(() => planInterfaceBandwidth('a\nqdisc', {})).toThrow('cannot make firewall rules');
  });
});

describe('limits of a network', () => {
  const port = { classId: 17, mac: '52:54:00:0A:00:01', floor: 400 };

  it('leave to all what nobody has a share of', () => {
    const text = formatTrafficPlan(planNetworkBandwidth('virbr0', { inbound, outbound }, [port]));
    expect(text).toContain('class add dev virbr0 parent 1: classid 1:1 htb rate 1000kbps ceil 2000kbps');
    expect(text).toContain('class add dev virbr0 parent 1:1 classid 1:2 htb rate 600kbps ceil 2000kbps');
    expect(text).toContain('filter add dev virbr0 ingress protocol all u32 match u32 0 0 police rate 300kbps');
  });

  it('keep a share for who has the MAC address, and give it back', () => {
    expect(lines(planPlug('virbr0', inbound, port, [port]))).toEqual([
      'tc class add dev virbr0 parent 1:1 classid 1:11 htb rate 400kbps ceil 2000kbps quantum 40000',
      'tc filter add dev virbr0 parent 1: protocol all prio 2 handle 800::11 u32 match u16 0x5254 0xffff at -14 match u32 0x000a0001 0xffffffff at -12 flowid 1:11',
      'tc qdisc add dev virbr0 parent 1:11 handle 11: sfq perturb 10   # if the kernel can',
      'tc class change dev virbr0 parent 1:1 classid 1:2 htb rate 600kbps ceil 2000kbps burst 512kb quantum 60000',
    ]);
    expect(lines(planUnplug('virbr0', inbound, 17, [])).at(-1)).toContain('htb rate 1000kbps');
  });
});
