// What Coop does with its banks, by its own HMA service: node coop.js DIRECTORY PICTURE.
import { readFile, rm, writeFile } from 'node:fs/promises';

import { build } from 'esbuild';
import { fetch } from 'undici';

const [directory, picture] = process.argv.slice(2);
const built = await build({
  bundle: true,
  entryPoints: [`${directory}/server/services/hmaService/index.ts`],
  external: ['undici'],
  format: 'esm',
  platform: 'node',
  tsconfigRaw: '{}',
  write: false,
});
const module = new URL(`service-${process.pid}.mjs`, import.meta.url);
await writeFile(module, built.outputFiles[0].text);
const { HmaService } = await import(module.href);
await rm(module);

async function fetchHTTP({ url, method, body, headers, handleResponseBody }) {
  const answer = await fetch(url, { method: method.toUpperCase(), body, headers });
  const text = await answer.text();
  return {
    ok: answer.ok,
    status: answer.status,
    headers: answer.headers,
    body: handleResponseBody === 'as-json' ? JSON.parse(text) : undefined,
  };
}

async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    return `error: ${error.message}`;
  }
}

const service = new HmaService(fetchHTTP, undefined);
const said = {};
const bank = await service.createBank('org1', 'My Bank: 1', 'a bank', 0.5);
said.name = bank.hma_name;
said.again = await attempt(() => service.createBank('org1', 'My Bank: 1', 'again', 1));
const file = new Blob([await readFile(picture)]);
said.added = await service.addContentToBank(bank.hma_name, { file, contentType: 'photo' });
const signal = said.added.signals.pdq;
const check = () => service.checkImageMatchWithDetails([bank.hma_name, 'OTHER'], 'pdq', signal);
said.found = await check();
said.lookup = await service.lookupContent({ signalType: 'pdq', signal });
await service.updateBank('org1', '1', { enabled_ratio: 0 });
said.off = await check();
await service.updateBank('org1', '1', { enabled_ratio: 1 });
said.on = await check();
said.listed = (await service.listBanks('org1')).map((one) => one.hma_name);
said.wrong = await attempt(() => service.lookupContent({ signalType: 'pdq', signal: 'short' }));
said.url = await attempt(() => service.hashContentFromUrl('https://example.com/x.png'));
said.apis = await service.getExchangeApis();
said.exchange = await service.getExchangeForBank(bank.hma_name);
said.schema = await service.getExchangeApiSchema('ncmec');
const renamed = await service.updateBank('org1', '1', { name: 'Renamed' });
said.renamed = [renamed.hma_name, (await service.lookupContent({ signalType: 'pdq', signal }))];
await service.deleteBank('org1', '1');
said.left = await service.listBanks('org1');
console.log(JSON.stringify(said));
