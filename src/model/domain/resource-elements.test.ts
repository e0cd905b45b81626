/** Elements about processors, memory and the devices that go with them: read, and written as they were. */
import { describe, expect, it } from 'vitest';
import { DefinitionError } from '../schema/faults.ts';
import { formatDomain, parseDomain } from './domain.ts';

const RESOURCES = `<domain type='kvm'>
  <name>demo</name>
  <maxMemory slots='8' unit='KiB'>8388608</maxMemory>
  <memory unit='KiB' dumpCore='off'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <defaultiothread thread_pool_min='1' thread_pool_max='4'/>
  <blkiotune>
    <weight>700</weight>
    <device>
      <path>/dev/vdz</path>
      <weight>300</weight>
      <read_iops_sec>100</read_iops_sec>
      <write_iops_sec>200</write_iops_sec>
      <read_bytes_sec>300</read_bytes_sec>
      <write_bytes_sec>400</write_bytes_sec>
    </device>
  </blkiotune>
  <memtune>
    <hard_limit unit='KiB'>4194304</hard_limit>
    <soft_limit unit='KiB'>3145728</soft_limit>
    <swap_hard_limit unit='KiB'>5242880</swap_hard_limit>
  </memtune>
  <memoryBacking>
    <hugepages>
      <page size='2048' unit='KiB' nodeset='1'/>
      <page size='1048576' unit='KiB'/>
    </hugepages>
    <nosharepages/>
    <locked/>
    <source type='memfd'/>
    <access mode='shared'/>
    <allocation mode='immediate' threads='3'/>
    <discard/>
  </memoryBacking>
  <vcpu placement='static' cpuset='0-3,6' current='2'>4</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
    <vcpu id='1' enabled='no' hotpluggable='yes'/>
  </vcpus>
  <iothreads>2</iothreads>
  <iothreadids>
    <iothread id='4' thread_pool_min='2' thread_pool_max='8'>
      <poll max='32768' grow='2' shrink='0'/>
    </iothread>
    <iothread id='2'/>
  </iothreadids>
  <cputune>
    <shares>512</shares>
    <period>100000</period>
    <quota>-1</quota>
    <global_period>50000</global_period>
    <global_quota>25000</global_quota>
    <emulator_period>90000</emulator_period>
    <emulator_quota>1000</emulator_quota>
    <iothread_period>80000</iothread_period>
    <iothread_quota>2000</iothread_quota>
    <vcpupin vcpu='0' cpuset='1-2'/>
    <emulatorpin cpuset='3'/>
    <iothreadpin iothread='4' cpuset='0'/>
    <emulatorsched scheduler='rr' priority='2'/>
    <vcpusched vcpus='0-1' scheduler='fifo' priority='1'/>
    <iothreadsched iothreads='2' scheduler='batch'/>
    <cachetune vcpus='0-1' id='first'>
      <cache id='0' level='3' type='both' size='3072' unit='KiB'/>
      <monitor level='3' vcpus='1'/>
    </cachetune>
    <memorytune vcpus='2-3'>
      <node id='0' bandwidth='60'/>
      <monitor vcpus='2'/>
    </memorytune>
  </cputune>
  <numatune>
    <memory mode='preferred' nodeset='0' placement='static'/>
    <memnode cellid='1' mode='strict' nodeset='1-2'/>
  </numatune>
  <cpu mode='custom' match='exact' check='full' migratable='on'>
    <model fallback='forbid' vendor_id='A Vendor Id.'>Haswell</model>
    <vendor>Intel</vendor>
    <topology sockets='1' dies='1' clusters='1' cores='2' threads='2'/>
    <cache level='3' mode='emulate'/>
    <maxphysaddr mode='emulate' bits='42'/>
    <feature policy='disable' name='lahf_lm'/>
    <numa>
      <cell id='0' cpus='0-1' memory='1048576' unit='KiB' memAccess='shared' discard='yes'>
        <distances>
          <sibling id='0' value='10'/>
          <sibling id='1' value='21'/>
        </distances>
        <cache level='1' associativity='full' policy='writethrough'>
          <size value='16' unit='KiB'/>
          <line value='64' unit='B'/>
        </cache>
      </cell>
      <cell id='1' cpus='2-3' memory='1048576' unit='KiB'/>
      <interconnects>
        <latency initiator='0' target='1' cache='1' type='read' value='7'/>
        <bandwidth initiator='0' target='1' type='access' value='2048' unit='KiB'/>
      </interconnects>
    </numa>
  </cpu>
  <devices>
    <tpm model='tpm-crb'>
      <backend type='emulator' version='2.0' persistent_state='yes' debug='5'>
        <encryption secret='6d0b1c1e-2f6a-4c5e-8d57-9f0a4b2f6c11'/>
        <active_pcr_banks>
          <sha256/>
        </active_pcr_banks>
        <source type='dir' path='/srv/tpm'/>
        <profile source='local:mine' removeDisabled='fips-host' name='custom:mine'/>
      </backend>
    </tpm>
    <memballoon model='virtio' autodeflate='on' freePageReporting='on'>
      <stats period='5'/>
      <driver iommu='on' ats='off'/>
    </memballoon>
    <rng model='virtio-transitional'>
      <rate bytes='64' period='250'/>
      <backend model='egd' type='tcp'>
        <source mode='connect' host='::1' service='77'/>
        <protocol type='raw'/>
      </backend>
      <driver packed='on'/>
    </rng>
    <shmem name='pool' role='peer'>
      <model type='ivshmem-doorbell'/>
      <server path='/run/pool.sock'/>
      <msi vectors='8' ioeventfd='off'/>
    </shmem>
    <memory model='virtio-mem' access='shared' discard='yes'>
      <source>
        <nodemask>0,2</nodemask>
        <pagesize unit='KiB'>2048</pagesize>
      </source>
      <target dynamicMemslots='yes'>
        <size unit='KiB'>1048576</size>
        <node>1</node>
        <block unit='KiB'>2048</block>
        <requested unit='KiB'>524288</requested>
        <address base='0x150000000'/>
      </target>
    </memory>
    <vsock model='virtio'>
      <cid auto='no' address='9'/>
    </vsock>
  </devices>
</domain>
`;

describe('elements about processors and memory', () => {
  it('are written as they were read', () => {
    const { domain, warnings } = parseDomain(RESOURCES);
    expect(warnings).toEqual([]);
    expect(formatDomain(domain)).toBe(RESOURCES);
  });

  it('are kept in one unit, whatever they were written in', () => {
    const { domain } = parseDomain(`<domain><name>demo</name><memory unit='GiB' dumpCore='on'>1</memory>
      <memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>
      <cpu><numa><cell cpus='0' memory='1' unit='GB'/></numa></cpu></domain>`);
    expect(domain.memory).toEqual({ value: 1_048_576, dumpCore: true });
    expect(domain.memoryBacking?.hugepages?.pages[0]).toMatchObject({ size: 2048, unit: 'KiB' });
    expect(domain.cpu?.numa?.cells[0]).toMatchObject({ memory: 976_563, unit: 'KiB' });
  });

  it.each([
    ["<memory unit='parsec'>1</memory>", /unit 'parsec' is unknown/],
    ['<memory>lots</memory>', /size 'lots' is not a whole/],
    ['<vcpu>0</vcpu>', /outside 1 to 65535/],
    ['<cputune><period>999</period></cputune>', /below 1000 microseconds/],
    ["<cputune><vcpusched vcpus='0' scheduler='nice'/></cputune>", /value 'nice' is unknown/],
    ["<cpu><topology sockets='0' cores='1' threads='1'/></cpu>", /outside 1 to/],
    ["<cpu><topology sockets='1' cores='1'/></cpu>", /lacks attribute 'threads'/],
    ["<cpu><cache level='4' mode='emulate'/></cpu>", /outside 1 to 3/],
    ["<cpu><numa><cell memory='1' unit='XiB'/></numa></cpu>", /unit 'XiB' is unknown/],
    ["<devices><tpm model='tpm-tis'/></devices>", /lacks element <backend>/],
    ["<devices><memory model='dimm'/></devices>", /lacks element <target>/],
  ])('%s is refused', (body, message) => {
    expect(() => parseDomain(`<domain>${body}</domain>`)).toThrow(DefinitionError);
    expect(() => parseDomain(`<domain>${body}</domain>`)).toThrow(message);
  });
});
