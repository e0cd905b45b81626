import { describe, expect, it } from 'vitest';
import { formatDomain, parseDomain } from '../domain.ts';

const roundTrip = (device: string) => {
  const lines = device
    .trim()
    .split('\n')
    .map((line) => line.trim());
  const xml = `<domain type='kvm'><devices>${lines.join('')}</devices></domain>`;
  const { domain, warnings } = parseDomain(xml);
  const text = formatDomain(domain)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^<\/?(?:domain|devices)/.test(line));
  return { text: text.join('\n'), expected: lines.join('\n'), warnings };
};

describe('devices with a host end, and networks', () => {
  it.each([
    [
      'serial',
      `<serial type='tcp'>
         <source mode='connect' host='h' service='1' tls='yes'>
           <reconnect enabled='yes' timeout='3'/>
         </source>
         <protocol type='telnet'/>
         <log file='/l' append='on'/>
         <target type='isa-serial' port='0'>
           <model name='isa-serial'/>
         </target>
         <alias name='ua-s'/>
         <address type='isa' iobase='0x3f8' irq='0x4'/>
       </serial>`,
    ],
    [
      'channel',
      `<channel type='qemu-vdagent'>
         <source>
           <clipboard copypaste='yes'/>
           <mouse mode='client'/>
         </source>
         <target type='virtio' name='com.redhat.spice.0'/>
         <address type='virtio-serial' controller='0' bus='0' port='1'/>
       </channel>`,
    ],
    [
      'interface',
      `<interface type='bridge' trustGuestRxFilters='yes'>
         <mac address='52:54:00:00:00:01' type='static' check='no'/>
         <source bridge='br0'/>
         <vlan trunk='yes'>
           <tag id='42' nativeMode='untagged'/>
           <tag id='47'/>
         </vlan>
         <virtualport type='openvswitch'>
           <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f' profileid='p'/>
         </virtualport>
         <bandwidth>
           <inbound average='1000' peak='5000' floor='200' burst='1024'/>
           <outbound average='128'/>
         </bandwidth>
         <port isolated='yes'/>
         <target dev='mytap'/>
         <guest dev='eth7'/>
         <model type='virtio'/>
         <driver name='vhost' txmode='iothread' ioeventfd='on' event_idx='off' queues='5' rx_queue_size='256' tx_queue_size='256' rss='on' rss_hash_report='off' iommu='on' ats='on' packed='on' page_per_vq='on'>
           <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off' mrg_rxbuf='off'/>
           <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>
         </driver>
         <backend tap='/dev/net/tun' vhost='/dev/vhost-net'/>
         <filterref filter='clean-traffic'>
           <parameter name='IP' value='10.0.0.1'/>
         </filterref>
         <tune>
           <sndbuf>1600</sndbuf>
         </tune>
         <link state='down'/>
         <mtu size='1500'/>
         <coalesce>
           <rx>
             <frames max='7'/>
           </rx>
         </coalesce>
         <teaming type='persistent'/>
         <boot order='1'/>
         <rom bar='on' file='/etc/rom.bin'/>
         <alias name='ua-n'/>
         <acpi index='4'/>
         <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
       </interface>`,
    ],
    [
      'user-mode interface',
      `<interface type='user'>
         <mac address='52:54:00:00:00:01'/>
         <source dev='eth0'/>
         <ip address='172.17.2.0' family='ipv4' prefix='24'/>
         <portForward proto='tcp' address='10.1.1.1' dev='eth0'>
           <range start='22' end='23' to='2022'/>
           <range start='1020' exclude='yes'/>
         </portForward>
         <backend type='passt' logFile='/l'/>
       </interface>`,
    ],
    [
      'hostdev',
      `<hostdev mode='subsystem' type='scsi' managed='no' rawio='yes'>
         <source protocol='iscsi' name='iqn.2000-01.org:t/1'>
           <host name='h' port='3260'/>
           <auth username='u'>
             <secret type='iscsi' usage='s'/>
           </auth>
           <initiator>
             <iqn name='iqn.2000-01.org:i'/>
           </initiator>
         </source>
         <readonly/>
         <shareable/>
         <address type='drive' controller='0' bus='0' target='3' unit='5'/>
       </hostdev>`,
    ],
    [
      'smartcard',
      `<smartcard mode='host-certificates'>
         <certificate>a</certificate>
         <certificate>b</certificate>
         <certificate>c</certificate>
         <database>/etc/pki/nssdb</database>
         <address type='ccid' controller='0' slot='0'/>
       </smartcard>`,
    ],
  ])('%s comes back as it was written', (_name, device) => {
    const { text, expected, warnings } = roundTrip(device);
    expect(warnings).toEqual([]);
    expect(text).toBe(expected);
  });

  it.each([
    ["<channel type='pty'/>", 'lacks element <target>'],
    ["<channel type='pty'><target name='x'/></channel>", "lacks attribute 'type'"],
    ["<serial type='ppty'/>", "did you mean 'pty'?"],
    ["<interface type='bridged'/>", "did you mean 'bridge'?"],
    ["<interface type='user'><mac address='52:54:00:00:00'/></interface>", 'is not a MAC address'],
    ["<hostdev type='pci'/>", 'lacks element <source>'],
    ["<redirfilter><usbdev class='0x100' allow='yes'/></redirfilter>", 'is above 0xff'],
    ["<redirfilter><usbdev version='1.a' allow='yes'/></redirfilter>", 'is not a device version'],
  ])('refuses %s', (device, message) => {
    expect(() => parseDomain(`<domain><devices>${device}</devices></domain>`)).toThrow(message);
  });
});
