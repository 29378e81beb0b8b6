/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* MESSAGE_ID= of what an administrator may look for: journalctl MESSAGE_ID=..., explained in units/fused.catalog. They never change. */

#define MESSAGE_MOUNTED "01e20f40108f4804801d0c9393a96d47"
#define MESSAGE_REFUSED "776f53152836425581c76b5b551d07b8"
#define MESSAGE_ENDED "3bde252c4a764c20b68576d9c63f016b"
#define MESSAGE_SERVER_ENDED "9dfc2c45127545bc8d1530cad173891c"
#define MESSAGE_FAILED "2c59a5c94f73435bb136e943dafffa1e"
#define MESSAGE_READY "4ba5e5ae02154ca78773329d7a5992ca"
#define MESSAGE_MANAGER_ENDED "2436c4ee66704d6e8c6e5da4bd221f2c"
#define MESSAGE_PROGRAM_REFUSED "b1d0f2c6a6f54cf6a4f7c2f0a1c6d7e4"
#define MESSAGE_TAKEN_OVER "da375570895f4637b8d7f04ef0094bea"
