// Calls methods of OpenSandbox's JavaScript SDK one after the other and prints what came of each as JSON.
//
//     node sdk.mjs BASE_URL HEADERS CALLS     CALLS: [["egress", "getPolicy"], ["egress", "patchRules", [{…}]], …]
import { ConnectionConfig, createDefaultAdapterFactory } from "@alibaba-group/opensandbox";

const [egressBaseUrl, headers, calls] = process.argv.slice(2);
const connectionConfig = new ConnectionConfig({ requestTimeoutSeconds: 20 }).withTransportIfMissing();
const stack = createDefaultAdapterFactory().createEgressStack({
    connectionConfig, egressBaseUrl, endpointHeaders: JSON.parse(headers),
});
const outcomes = [];
for (const [service, method, ...args] of JSON.parse(calls)) {
    try {
        outcomes.push({ value: (await stack[service][method](...args)) ?? null });
    } catch (error) {
        outcomes.push({ error: error.name, status: error.statusCode, message: error.message, body: error.rawBody });
    }
}
await connectionConfig.closeTransport();
console.log(JSON.stringify(outcomes));
