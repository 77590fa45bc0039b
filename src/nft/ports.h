/* Well-known ports that rules are about (IANA). */
#ifndef NFT_PORTS_H
#define NFT_PORTS_H

#define PORT_DNS 53
#define PORT_DOT 853 /* RFC 7858; RFC 9250 for UDP */
#define PORT_HTTPS 443

#endif
